"""What a person does to answers: begin, answer, steer, stop, and go on after a death."""
