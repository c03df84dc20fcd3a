"""What investigators, approvers and auditors run: the commands query, trace and audit."""
