"""`deechat chat`: a client of the server over plain HTTP, for a person at a terminal or a pipe."""
