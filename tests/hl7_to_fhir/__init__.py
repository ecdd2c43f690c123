"""How far the mappings of HL7 v2 to FHIR and back reach, by public pairs: ``python -m tests.hl7_to_fhir`` prints it."""
