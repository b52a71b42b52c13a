# A use lease: one client, one provider, read only. The client is the alias name, which is the signed claim `client_id`.
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>" {
  capabilities = ["read"]
}
# With it a job checks that a webhook is the provider's.
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/webhook" {
  capabilities = ["read"]
}
