# A custody lease for browser profiles: one client's own KEK and the records of its sealed profiles. Causes no effects.
path "tenant/encrypt/<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}" {
  capabilities = ["update"]
}
path "tenant/decrypt/<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}" {
  capabilities = ["update"]
}
path "tenant/rewrap/<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}" {
  capabilities = ["update"]
}
# Makes the key if there is none; no other kind of key than this one, and never one that can be copied out. It can not be
# read here, for a GET has no parameters to require: an empty write to `config` answers what the key looks like.
path "tenant/keys/<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}" {
  capabilities        = ["update"]
  allowed_parameters  = { "type" = ["aes256-gcm96"], "derived" = [true] }
  required_parameters = ["type", "derived"]
}
path "tenant/keys/<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}/rotate" {
  capabilities = ["update"]
}
# Which versions may protect and open: nothing that would let the key be exported, copied or deleted.
path "tenant/keys/<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}/config" {
  capabilities       = ["update"]
  allowed_parameters = { "min_encryption_version" = [], "min_decryption_version" = [] }
}
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/profiles/+" {
  capabilities = ["create", "read", "update"]
}
path "kv/metadata/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/profiles/+" {
  capabilities = ["read"]
}
path "kv/destroy/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/profiles/+" {
  capabilities = ["update"]
}
