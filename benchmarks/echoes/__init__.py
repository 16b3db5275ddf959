"""Echo applications: a body comes in and goes out again, through more or less of a stack."""
