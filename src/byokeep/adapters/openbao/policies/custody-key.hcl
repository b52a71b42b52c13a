# What recognises a key later, of one that a worker has the provider make: its fingerprint and its leak digests.
path "transit/hmac/fingerprints/sha2-256" {
  capabilities = ["update"]
}
path "kv/data/platform/scan-key" {
  capabilities = ["read"]
}
