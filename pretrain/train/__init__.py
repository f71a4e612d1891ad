"""Training a model: a learning-rate schedule, a loop over tokens, and a checkpoint that resumes bit for bit."""
