# The kill process: disables entities, and cannot enable one. It looks at them, at each node too: a kill is acknowledged when
# each of them refuses. It lists them for the day on which no database says which there are.
path "identity/entity/id/+" {
  capabilities       = ["read", "update"]
  allowed_parameters = { "disabled" = [true] }
}
path "identity/entity/id" {
  capabilities = ["list"]
}
path "sys/ha-status" {
  capabilities = ["read"]
}
path "sys/storage/raft/configuration" {
  capabilities = ["read"]
}
# Keys the hashes of people's and machines' tokens.
path "kv/data/platform/token-key" {
  capabilities = ["read"]
}
path "kv/data/platform/machine-key" {
  capabilities = ["read"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
