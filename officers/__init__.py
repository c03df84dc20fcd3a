"""What investigators, approvers and auditors run: query, trace and audit, over `officers.desk`."""
