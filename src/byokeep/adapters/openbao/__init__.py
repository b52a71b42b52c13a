"""The secret store: OpenBao behind the ports Intake, Signer, Cutoff and StoreAudit; its provisioning; the embedded one.

Rules
- The wall between tenants is OpenBao's policies, in ``policies/*.hcl``. ``docs/openbao-access.md`` shows what they do.
- A process logs in with its own machine identity (:mod:`.login`) and holds no right that its port does not need.
- Nothing of a reply reaches an error, a log or a span (:mod:`byokeep.wire.bao_http` drops it).

It may not decide who may do what, and may not import another adapter.
"""
