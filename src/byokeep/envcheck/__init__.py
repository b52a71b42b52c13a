"""The environment guard: what environment variables may hold, here, in files and at a host such as Vercel.

Rules
- Bootstrap values that name no client are allowed. A secret is found by its name and by the shape of its value.
- A finding carries the variable's name, place and code, never its value. What could not be read is unknown, not clean.
- A variable at a host is judged by its type, its targets and its age: its value need not be readable.

It may not open a connection, write a variable, or keep what it read.
"""
