"""The console: pages on which the agency's people read and act. ``web`` serves it under ``/console``.

Rules
- A page calls the same flow as the API's route, or forwards the call with the visitor's own token. Only that decides
  who may do what, and the record is the same.
- Pages are HTML, one stylesheet and the scripts of this folder. What a page does is a form or a link, and works without
  a script. A script shows what has happened since the page was loaded, and opens parts of the page by a key. It writes
  text, never markup.
- All text is escaped. No value of a secret reaches a page, because no flow that is called here returns one.
- Showing a page is a GET and changes nothing. Changing something is a POST that comes from a page of ours.

It may not have SQL, a rule about who may do what, or state of its own.
"""
