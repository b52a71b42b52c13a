"""The console: pages on which people of the agency look and act. ``web`` serves it, under ``/console``.

Rules
- A page asks the flow that the route of the API asks, or passes the call on with the visitor's own token: who may do
  what is decided there and nowhere else, and the record is the same.
- Pages are HTML, one stylesheet and the scripts of this folder. What a page does is a form or a link, and works
  without a script; a script tells what happened since the page was loaded, and opens what the page has by
  a key. It writes text, never markup.
- All text is escaped; no value of a secret reaches a page, for no flow that is asked here returns one.
- A page that shows is a GET and changes nothing; what changes something is a POST that comes from a page of ours.

It may not have SQL, a rule about who may do what, or a state of its own.
"""
