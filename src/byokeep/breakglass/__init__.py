"""Break glass (runbook 4.2): a person reads a client's secrets for minutes. Another person approves; it is reviewed.

It may not widen, renew or hide anything: there is no override.
"""
