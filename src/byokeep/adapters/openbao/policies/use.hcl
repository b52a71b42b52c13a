# A use lease: one client, one provider, read only. The client is the alias name, which is the signed claim `client_id`.
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>" {
  capabilities = ["read"]
}
