"""The portal: pages on which a client's people enter, read and end what is theirs; ``web`` serves it under ``/portal``.

Rules
- A visitor is a contact person of one client (:mod:`byokeep.tenancy.contacts`). Only the session decides whose pages
  they see: no address, form or header names a client.
- A page calls the same flow as the API's route, which decides who may do what; the record is the same.
- A key comes in by a form and goes straight to the store. No page, address, cookie or message holds it afterwards, even
  if it was refused. One page asks one question, and says in words what is wrong with the answer.
- It is built like the console (:mod:`byokeep.console`): forms hold a word derived from the visitor's own cookie. A page
  that takes a key runs no script.

It may not have SQL, a rule about who may do what, or state of its own except the brake on trying keys.
"""
