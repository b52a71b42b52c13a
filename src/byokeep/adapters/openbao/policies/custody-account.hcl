# A custody lease for a social platform: the accounts of one client there, and our own app at its login.
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/tokens" {
  capabilities = ["create", "read", "update"]
}
path "kv/metadata/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/tokens" {
  capabilities = ["read"]
}
path "kv/destroy/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/tokens" {
  capabilities = ["update"]
}
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/access" {
  capabilities = ["create", "read", "update"]
}
path "kv/metadata/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/access" {
  capabilities = ["read"]
}
path "kv/destroy/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/access" {
  capabilities = ["update"]
}
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/landing" {
  capabilities = ["create", "read", "update"]
}
path "kv/metadata/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/landing" {
  capabilities = ["read"]
}
path "kv/destroy/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/landing" {
  capabilities = ["update"]
}
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/verifier" {
  capabilities = ["read"]
}
path "kv/metadata/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/verifier" {
  capabilities = ["read"]
}
path "kv/destroy/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/verifier" {
  capabilities = ["update"]
}
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/code" {
  capabilities = ["read"]
}
path "kv/metadata/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/code" {
  capabilities = ["read"]
}
path "kv/destroy/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/code" {
  capabilities = ["update"]
}
path "kv/data/platform/apps/<<provider>>/+" {
  capabilities = ["read"]
}
# A webhook's signing secret is for jobs to read; custody looks at its versions and destroys those that hold no more.
path "kv/metadata/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/webhook" {
  capabilities = ["read"]
}
path "kv/destroy/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/webhook" {
  capabilities = ["update"]
}
