ui           = false
log_level    = "warn"
log_format   = "json"
api_addr     = "http://unix.invalid"
cluster_addr = "https://127.0.0.1:2"

storage "raft" {
  path                   = "<<home>>/openbao/data"
  node_id                = "embedded"
  performance_multiplier = 1
}

listener "unix" {
  address      = "<<socket>>"
  socket_mode  = "0600"
  socket_user  = "<<uid>>"
  socket_group = "<<gid>>"
}

listener "tcp" {
  address                            = "127.0.0.1:0"
  cluster_address                    = "127.0.0.1:0"
  tls_cert_file                      = "<<home>>/openbao/closed-port.pem"
  tls_key_file                       = "<<home>>/openbao/closed-port.key"
  tls_client_ca_file                 = "<<home>>/openbao/closed-port-ca.pem"
  tls_require_and_verify_client_cert = true
}

seal "static" {
  current_key_id = "1"
  current_key    = "<<seal>>"
}

telemetry {
  disable_hostname          = true
  prometheus_retention_time = "0s"
}

audit "file" "a" {
  options = { file_path = "<<a>>", mode = "0600" }
}

audit "file" "b" {
  options = { file_path = "<<b>>", mode = "0600" }
}
