# The operators' process: takes values in, never reads one back, never learns which clients exist.
path "kv/data/clients/+/providers/+" {
  capabilities = ["create", "update"]
}
path "kv/metadata/clients/+/providers/+" {
  capabilities = ["read"]
}
path "kv/data/platform/token-key" {
  capabilities = ["read"]
}
# Keys the fingerprints by which a copy of a live value is found: made when the value comes in, handed to auditors.
path "kv/data/platform/scan-key" {
  capabilities = ["read"]
}
path "transit/hmac/fingerprints/+" {
  capabilities = ["update"]
}
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
