"""The report that is handed to a health office: PDF and HTML of one content, in its language.

`contents` says it as blocks (`document`) and drawings (`drawing`), `html` and `pdf` set these, and
`making` writes both with the officer's signature; `verifying` checks them again.
"""
