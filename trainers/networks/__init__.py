"""Networks: each a sequence of named layers that an algorithm can address one by one."""
