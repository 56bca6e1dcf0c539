"""The CustomResourceDefinitions, made from the API models: schema, rules in CEL, printer columns.

`definition` is the whole object of one kind. What the schema can say stands in it (`schema`); what needs words or more
than one field is a rule with the sentence that the checks have on disk (`rules` and the tables beside it). Everything
here is a pure function of the models, so that the files can be compared. No default is in the schema: stored objects
stay as they were written.
"""
