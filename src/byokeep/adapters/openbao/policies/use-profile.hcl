# A use lease for browser profiles: opens what the client's own KEK wrapped, and reads no record of any profile, its own
# included; the broker hands out the record of what is open. The client is the alias name, which is the signed claim
# `client_id`; the environment is the installation's.
path "tenant/decrypt/<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}" {
  capabilities = ["update"]
}
