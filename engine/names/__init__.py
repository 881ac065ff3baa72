"""Records of the DNS that follow the gateways: which are wanted, and the providers that hold them."""
