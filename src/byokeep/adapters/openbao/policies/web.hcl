# The operators' process: takes values in, never reads one back, never learns which clients exist.
path "kv/data/clients/+/providers/+" {
  capabilities = ["create", "update"]
}
# Of what it writes here, but for consents, it may have the store keep more versions, so that no value pushes out the one
# in use; that many, and no fewer.
path "kv/metadata/clients/+/providers/+" {
  capabilities       = ["read", "update"]
  allowed_parameters = {
    "max_versions" = ["1000"]
  }
}
# A webhook's signing secret, and the two halves of a consent: written here, read under custody.
path "kv/data/clients/+/providers/+/webhook" {
  capabilities = ["create", "update"]
}
path "kv/metadata/clients/+/providers/+/webhook" {
  capabilities       = ["read", "update"]
  allowed_parameters = {
    "max_versions" = ["1000"]
  }
}
# The key that administers a client's account at a provider: written here, read under custody and under nothing else.
path "kv/data/clients/+/providers/+/admin" {
  capabilities = ["create", "update"]
}
path "kv/metadata/clients/+/providers/+/admin" {
  capabilities       = ["read", "update"]
  allowed_parameters = {
    "max_versions" = ["1000"]
  }
}
# How many versions of a token set there are, for the inventory.
path "kv/metadata/clients/+/providers/+/accounts/+/tokens" {
  capabilities = ["read"]
}
path "kv/data/clients/+/providers/+/accounts/+/verifier" {
  capabilities = ["create", "update"]
}
path "kv/metadata/clients/+/providers/+/accounts/+/verifier" {
  capabilities = ["read"]
}
path "kv/data/clients/+/providers/+/accounts/+/code" {
  capabilities = ["create", "update"]
}
path "kv/metadata/clients/+/providers/+/accounts/+/code" {
  capabilities = ["read"]
}
# The secret of our own app at a platform's login: written here, read under custody.
path "kv/data/platform/apps/+/+" {
  capabilities = ["create", "update"]
}
path "kv/metadata/platform/apps/+/+" {
  capabilities       = ["read", "update"]
  allowed_parameters = {
    "max_versions" = ["1000"]
  }
}
path "kv/data/platform/token-key" {
  capabilities = ["read"]
}
# Keys the fingerprints by which a copy of a live value is found: made when the value comes in, handed to auditors.
path "kv/data/platform/scan-key" {
  capabilities = ["read"]
}
path "transit/hmac/fingerprints/+" {
  capabilities = ["update"]
}
# Lets the store make identity tokens of a client for a provider: of one form and life, and with no further claim. None is
# made here: a token names whoever asks for it, and only a client's own lease may ask for the client's.
path "identity/oidc/key/+" {
  capabilities       = ["create", "update"]
  allowed_parameters = {
    "algorithm"          = ["RS256"]
    "rotation_period"    = ["720h"]
    "verification_ttl"   = ["1h"]
    "allowed_client_ids" = []
  }
}
path "identity/oidc/role/+" {
  capabilities       = ["create", "update"]
  allowed_parameters = {
    "key"       = []
    "client_id" = []
    "ttl"       = ["60s"]
  }
}
path "sys/wrapping/wrap" {
  capabilities = ["update"]
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
