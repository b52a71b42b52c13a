# A runner that seals the profile it had open: it wraps one new key under its client's own KEK. It opens nothing, touches no
# record of any profile, and changes nothing of the KEK; the broker writes the record.
path "tenant/encrypt/<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}" {
  capabilities = ["update"]
}
# Looks at the key by an empty write, which answers what it is; with a parameter it is refused.
path "tenant/keys/<<environment>>-{{identity.entity.aliases.<<lease_accessor>>.name}}/config" {
  capabilities      = ["update"]
  denied_parameters = { "*" = [] }
}
