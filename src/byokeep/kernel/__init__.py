"""What every domain is built with: commands, approvals, procedures, custody, the reading of rows, and the ports.

It may not know a domain, a driver or a server.
"""
