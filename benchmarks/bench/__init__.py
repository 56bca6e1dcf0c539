"""What does a request cost in this proxy, beside another one, on this machine, now?"""
