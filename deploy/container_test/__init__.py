"""`make container-test`: the images and docker-compose.yml, run for real."""
