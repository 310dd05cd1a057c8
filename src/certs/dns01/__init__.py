"""DNS-01: the TXT record that answers a challenge, wherever it has to be, made by whoever can make it."""
