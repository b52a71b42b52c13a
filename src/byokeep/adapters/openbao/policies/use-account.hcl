# A use lease for a social platform: the access tokens of the client's accounts there, and never what renews them.
path "kv/data/clients/{{identity.entity.aliases.<<lease_accessor>>.name}}/providers/<<provider>>/accounts/+/access" {
  capabilities = ["read"]
}
