"""The portal: pages on which people of a client enter, look at and end what is theirs; ``web`` serves ``/portal``.

Rules
- A visitor is a contact person of one client (:mod:`byokeep.tenancy.contacts`). Whose pages they see follows from the
  session alone: no address, form or header names a client.
- A page asks the flow that the route of the API asks; who may do what is decided there, and the record is the same.
- A key comes in by a form and goes straight to the store; no page, address, cookie or message holds it afterwards, also
  when it was refused. One page asks one question, and says in words what is wrong with the answer.
- It is made as the console is (:mod:`byokeep.console`): forms with a word of the visitor's own. A page that takes a key
  runs no script.

It may not have SQL, a rule about who may do what, or a state of its own but the brake on trying keys.
"""
