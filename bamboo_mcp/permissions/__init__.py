"""Who may do what: the policy that decides on a call, what was granted, and questions to a person.

May import: `domain`, `ports`, `contributions`, `tools`.
"""
