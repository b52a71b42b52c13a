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
path "transit/hmac/fingerprints/+" {
  capabilities = ["update"]
}
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
