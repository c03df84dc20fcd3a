"""The officers' desk in a browser: pages over `officers.desk`, on the officer's own machine."""
