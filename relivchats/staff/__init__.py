"""What the admin pages and the operators' commands of all apps share."""
