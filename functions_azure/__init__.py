"""The Azure Function: bindings, HTTP and tokens for Fabric, state in Azure Tables, wakes in a Storage queue."""
