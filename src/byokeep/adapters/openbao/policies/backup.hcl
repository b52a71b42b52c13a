# Takes a snapshot of the store, which is encrypted under the seal, and puts markers under the keys that guard profiles:
# of one text's context, from which no key of a profile is derived. It decrypts nothing and reads no value.
path "sys/storage/raft/snapshot" {
  capabilities = ["read"]
}
path "tenant/keys" {
  capabilities = ["list"]
}
path "tenant/keys/+" {
  capabilities = ["read"]
}
path "tenant/encrypt/+" {
  capabilities       = ["update"]
  allowed_parameters = { "context" = ["Ynlva2VlcC1iYWNrdXAtbWFya2VyLzE="], "plaintext" = [], "key_version" = [] }
}
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
