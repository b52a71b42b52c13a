# A use lease for browser profiles: opens what the client's own KEK wrapped, and reads the records of its own profiles.
# The client is the alias name, which is the signed claim `client_id`; the environment is the installation's.
path "tenant/decrypt/<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}" {
  capabilities = ["update"]
}
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/profiles/+" {
  capabilities = ["read"]
}
