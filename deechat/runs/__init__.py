"""A person's acts on answers: begin, answer, steer, stop; and how runs go on after a death."""
