"""What every domain is built with: commands, approvals, procedures, custody; rows that become nouns; the ports.

It may not know a domain, a driver or a server.
"""
