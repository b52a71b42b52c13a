# A custody lease: one client, one provider; reads, writes, looks at versions and destroys them. Causes no effects.
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>" {
  capabilities = ["create", "read", "update"]
}
path "kv/metadata/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>" {
  capabilities       = ["read", "update"]
  allowed_parameters = {
    "max_versions" = ["1000"]
  }
}
path "kv/destroy/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>" {
  capabilities = ["update"]
}
# A webhook's signing secret is for jobs to read; custody looks at its versions and destroys those that hold no more.
path "kv/metadata/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/webhook" {
  capabilities = ["read"]
}
path "kv/destroy/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/webhook" {
  capabilities = ["update"]
}
# The key that administers the account: what no job's lease reaches.
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/admin" {
  capabilities = ["read"]
}
path "kv/metadata/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/admin" {
  capabilities = ["read"]
}
path "kv/destroy/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/admin" {
  capabilities = ["update"]
}
