# An identity token of the client for this provider, which a keyless credential is swapped with; it is worth a minute.
path "identity/oidc/token/{{identity.entity.aliases.<<lease_accessor>>.name}}-<<provider>>" {
  capabilities = ["read"]
}
