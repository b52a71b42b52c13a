# Half of a root credential: the other half is a quorum of recovery keys. Alone it may ask, and see what is recorded.
path "sys/generate-root-token/attempt" {
  capabilities = ["create", "update", "delete"]
}
path "sys/generate-root-token/update" {
  capabilities = ["create", "update"]
}
path "kv/metadata/platform/provisioning" {
  capabilities = ["read"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
