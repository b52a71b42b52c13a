"""PostgreSQL: tables, migrations, named queries, transactions, the queue, and the embedded server.

Rules
- The database is the second wall: constraints, row policies, triggers and grants hold even when our code is wrong.
- No driver text leaves this room: errors carry codes and constraint names.

It may not import another adapter or a flow, and it never sees a secret value.
"""
