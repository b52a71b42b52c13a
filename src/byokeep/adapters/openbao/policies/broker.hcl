# The process that hands out leases: signs, cuts clients off, looks at versions; reads no client's value. It reads and writes
# one thing: the record of a profile, which holds a wrapped key and no value. A runner gets the one of the profile that it has
# open, and gives the one of what it sealed; cas is required, nothing is removed.
path "transit/sign/leases" {
  capabilities = ["update"]
}
path "transit/sign/checkpoints" {
  capabilities = ["update"]
}
path "transit/sign/evidence" {
  capabilities = ["update"]
}
path "transit/keys/leases" {
  capabilities = ["read"]
}
path "transit/keys/checkpoints" {
  capabilities = ["read"]
}
path "transit/keys/evidence" {
  capabilities = ["read"]
}
# Flips `disabled` and nothing else: no new entity, no alias, no metadata, no policy. Reads whether a kill holds, at each node.
path "identity/entity/id/+" {
  capabilities       = ["read", "update"]
  allowed_parameters = { "disabled" = [] }
}
path "kv/metadata/clients/+/providers/+" {
  capabilities = ["read"]
}
path "kv/metadata/clients/+/providers/+/webhook" {
  capabilities = ["read"]
}
path "kv/metadata/clients/+/providers/+/admin" {
  capabilities = ["read"]
}
path "kv/metadata/clients/+/providers/+/accounts/+/tokens" {
  capabilities = ["read"]
}
path "kv/data/clients/+/profiles/+" {
  capabilities = ["create", "read", "update"]
}
path "kv/metadata/clients/+/profiles/+" {
  capabilities = ["read"]
}
path "kv/data/platform/token-key" {
  capabilities = ["read"]
}
# Keys the hashes of machines' tokens: the kill process has it as well, and nobody else.
path "kv/data/platform/machine-key" {
  capabilities = ["read"]
}
# Which nodes there are: a kill is acknowledged when each of them refuses.
path "sys/ha-status" {
  capabilities = ["read"]
}
path "sys/storage/raft/configuration" {
  capabilities = ["read"]
}
path "sys/audit-hash/+" {
  capabilities = ["update"]
}
# Ends what a wrapped answer leaves at the store: no lease that is ended and no kill does. No other token is made below these.
path "sys/leases/revoke-prefix/kv/data/*" {
  capabilities = ["update", "sudo"]
}
path "sys/leases/revoke-prefix/tenant/*" {
  capabilities = ["update", "sudo"]
}
path "sys/leases/revoke-prefix/identity/oidc/token/*" {
  capabilities = ["update", "sudo"]
}
path "sys/leases/revoke-prefix/sys/wrapping/*" {
  capabilities = ["update", "sudo"]
}
# Break glass: sees that there is one role for it, and ends what that gave. It is given no token, only a wrapped one.
path "auth/lease/cel/role" {
  capabilities = ["list"]
}
path "auth/lease/cel/role/+" {
  capabilities = ["read"]
}
path "auth/token/revoke-accessor" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
