"""What is kept in plain files outside the database: checkpoints, the second copy of the audit log, the disk reserve.

Rules
- A file of records only grows. A record is on the disk before the call returns, whole or not at all.
- No symbolic link is followed, and no file of another owner is used.
"""
