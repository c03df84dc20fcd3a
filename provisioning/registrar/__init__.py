"""The enrolment service at headquarters: claims in, certificates and signed configuration out."""
