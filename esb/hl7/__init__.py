"""Tools for HL7 v2 in a hospital: what is on the wire, who answers what, and captures without patients."""
