# A use lease: one client, one provider, read only. The client is the alias name, which is the signed claim `client_id`.
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>" {
  capabilities = ["read"]
}
# With it a job checks that a webhook is the provider's.
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/webhook" {
  capabilities = ["read"]
}
# An identity token of the client for this provider, which a keyless credential is swapped with; it is worth a minute.
path "identity/oidc/token/{{identity.entity.aliases.<<lease_accessor>>.name}}-<<provider>>" {
  capabilities = ["read"]
}
